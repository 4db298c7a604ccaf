"""Layers whose names try to be more than text."""

HOSTILE = "</script><script>document.title='owned'</script>"
NAMES = ("conv10", "conv9", HOSTILE, "<img src=x onerror=alert(1)>", "\"&' {{ 7 * 7 }}")
SHAPES = (
    "in_channels: 64, out_channels: 64, kernel: 3, input_size: 8",
    "in_channels: 64, out_channels: 32, kernel: 1, input_size: 12",
    "in_channels: 128, out_channels: 64, kernel: 1, input_size: 4",
    "in_channels: 3, out_channels: 32, kernel: 3, input_size: 8",
    "in_channels: 64, out_channels: 64, kernel: 3, input_size: 8",
)
EXPERIMENT = "name: '</code><script>alert(1)</script>'\n"
