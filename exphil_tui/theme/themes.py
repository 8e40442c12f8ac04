"""The workbench's Textual themes: dark, light and high contrast.

Good, warning and bad are the blue-green, orange and vermilion of `palette`, which stay distinct with every common
form of colour blindness. No theme sets red against green.
"""

from textual.theme import Theme

DARK = Theme(
    name="exphil-dark",
    primary="#56B4E9",
    secondary="#7A9BB5",
    accent="#E69F00",
    success="#2DBE93",
    warning="#E69F00",
    error="#F0794A",
    foreground="#D5DCE4",
    background="#0E131A",
    surface="#151C26",
    panel="#1C2531",
    dark=True,
    variables={
        "block-cursor-background": "#1F4763",
        "block-cursor-foreground": "#FFFFFF",
        "block-cursor-blurred-background": "#1B2B3A",
        "footer-key-foreground": "#56B4E9",
        "footer-description-foreground": "#9AA8B6",
        "footer-background": "#151C26",
        "text-muted": "#94A1AE",
        "foreground-muted": "#94A1AE",
        "border": "#56B4E9",
        "border-blurred": "#2A3644",
        "scrollbar": "#2F3D4C",
        "scrollbar-background": "#121922",
    },
)

LIGHT = Theme(
    name="exphil-light",
    primary="#00619B",
    secondary="#4C6A80",
    accent="#9A5B00",
    success="#00734F",
    warning="#8A5700",
    error="#A84300",
    foreground="#1B232B",
    background="#FAFAF7",
    surface="#F1F1EC",
    panel="#E7E7E0",
    dark=False,
    variables={
        "block-cursor-background": "#CFE6F5",
        "block-cursor-foreground": "#0B1B26",
        "block-cursor-blurred-background": "#E3EDF3",
        "footer-key-foreground": "#00619B",
        "footer-description-foreground": "#4A5763",
        "footer-background": "#F1F1EC",
        "text-muted": "#4A5763",
        "foreground-muted": "#4A5763",
        "border": "#00619B",
        "border-blurred": "#C9CEC9",
        "scrollbar": "#C2C9CF",
        "scrollbar-background": "#EDEDE8",
    },
)

CONTRAST = Theme(
    name="exphil-contrast",
    primary="#F0E442",
    secondary="#FFFFFF",
    accent="#F0E442",
    success="#56B4E9",
    warning="#F0E442",
    error="#FF9A5C",
    foreground="#FFFFFF",
    background="#000000",
    surface="#000000",
    panel="#1A1A1A",
    dark=True,
    text_alpha=1.0,
    variables={
        "block-cursor-background": "#F0E442",
        "block-cursor-foreground": "#000000",
        "block-cursor-blurred-background": "#4A4715",
        "footer-key-foreground": "#F0E442",
        "footer-description-foreground": "#FFFFFF",
        "footer-background": "#000000",
        "text-muted": "#D0D0D0",
        "foreground-muted": "#D0D0D0",
        "border": "#F0E442",
        "border-blurred": "#8A8A8A",
        "scrollbar": "#8A8A8A",
        "scrollbar-background": "#1A1A1A",
    },
)

WITHOUT_COLOUR = {
    "block-cursor-text-style": "reverse",
    "block-cursor-blurred-text-style": "underline",
    "input-cursor-text-style": "reverse",
    "button-focus-text-style": "bold reverse",
}
"""Text styles that replace cursor backgrounds under NO_COLOR, so that the cursor row stays visible."""

THEMES = (DARK, LIGHT, CONTRAST)
