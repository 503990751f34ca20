# Writes a checkpoint onto a disk that is too small for it: one of 64 KiB over the outputs, where this machine lets one be
# mounted, else the device of the kernel that is always full.
save='import sys; open(sys.argv[1], "wb").write(bytes(1 << 20))'
small='mount -t tmpfs -o size=64k none "$TRAINYARD_OUTPUT_DIR"'
if unshare --user --map-root-user --mount sh -c "$small" 2>/dev/null; then
  exec unshare --user --map-root-user --mount sh -c "$small; python3 -c '$save' \"\$TRAINYARD_OUTPUT_DIR/checkpoint\""
fi
python3 -c "$save" /dev/full
