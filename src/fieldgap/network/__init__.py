"""A network built for its tiles, placed on a device, and measured.

One measure serves every split and epoch. The architectures themselves are in `parts/`, the loop that trains one in
`training/`, what a finished run is asked in `evaluation/`.
"""
