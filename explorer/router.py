KEY, TITLE, HOW, PLOTS = "router", "router", "x", ()
from explorer.figures import View
def settings(results, name): return []
def view(results, name, chosen, look): return View({}, {}, "router")
