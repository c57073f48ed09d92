"""TIFF: its directories, its pages, and the pixels that decoders do not read as stored."""
