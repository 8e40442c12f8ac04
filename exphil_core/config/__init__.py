"""Presets: pydantic models and the TOML loader. No torch."""
