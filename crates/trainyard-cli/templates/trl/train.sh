#!/bin/sh
# Everything about the training stands in config.yaml; where its results go, and from which checkpoint it continues,
# is told by Trainyard.
set -eu
exec python3 train.py --config config.yaml \
  --output_dir "${TRAINYARD_OUTPUT_DIR:-outputs}" \
  ${TRAINYARD_RESUME_FROM:+--resume_from_checkpoint "$TRAINYARD_RESUME_FROM"}
