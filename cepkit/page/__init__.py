"""What moves: controls for the rendered page and for JupyterLab."""

VERSION = "1"  # bump it when a control is meant to change, so that chapters run again
