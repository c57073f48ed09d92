"""The networks of a graph in 8 bits, but for blocks that need float32."""
