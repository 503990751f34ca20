"""Takes memory until there is none left: a limit stands in for a machine that is too small."""

import resource

resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
held = []
while True:
    held.append(bytearray(16 << 20))
