"""Magics, widgets and reports: the only room that imports IPython, ipywidgets and bqplot."""
