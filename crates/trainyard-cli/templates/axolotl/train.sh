#!/bin/sh
# Everything about the training stands in config.yml; where its results go, and from which checkpoint it continues,
# is told by Trainyard.
set -eu
exec axolotl train config.yml \
  --output-dir "${TRAINYARD_OUTPUT_DIR:-./outputs}" \
  ${TRAINYARD_RESUME_FROM:+--resume-from-checkpoint "$TRAINYARD_RESUME_FROM"}
