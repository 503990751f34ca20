#!/bin/sh
set -eu
exec python3 train.py
