"""How much a score depends on the weights of the losses: sweeps around the defaults, and a page."""
