"""The explorer's tabs, in their order on the page.

A tab is a module with KEY, TITLE, HOW (what one sees, and how to read it), PLOTS, NOTE (whether it stands
above or below them), settings(results, family) and view(results, family, chosen, look). Every answer is made
of the results and of what was chosen alone, so that an address is all that it takes to see the same again.
"""
