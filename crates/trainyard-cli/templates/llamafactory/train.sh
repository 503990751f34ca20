#!/bin/sh
# Everything about the training stands in config.yaml; where its results go, and from which checkpoint it continues,
# is told by Trainyard.
set -eu
exec llamafactory-cli train config.yaml \
  output_dir="${TRAINYARD_OUTPUT_DIR:-saves/lora}" \
  ${TRAINYARD_RESUME_FROM:+resume_from_checkpoint="$TRAINYARD_RESUME_FROM"}
