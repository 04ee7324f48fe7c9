"""The explorer: a page over results/, one module per tab, and the data layer below them."""
