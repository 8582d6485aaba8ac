"""The interfaces of "The Building Blocks of Interpretability", each a widget on its own."""
