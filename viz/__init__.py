"""Stage 8: results/{family}/ drawn into assets/{family}/, each figure as PNG and as SVG."""
