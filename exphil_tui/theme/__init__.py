"""Themes, palettes, glyphs, number formats and the output filter."""
