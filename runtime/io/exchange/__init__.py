"""Write objects in the formats of annotation tools."""
