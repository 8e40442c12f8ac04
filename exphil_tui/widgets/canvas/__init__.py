"""Pictures of braille dots: the canvas, its repaint engine, and the widgets that draw with it."""
