"""What the interfaces have in common: a chosen neuron, pictures made on demand, a still picture."""

from __future__ import annotations

import base64
import html
import threading
from pathlib import Path
from typing import Any

import anywidget
import traitlets
import xarray as xr

from nbcorr.network.neurons import parse_neurons
from nbcorr.notebook.interfaces.icons import Icons

STATIC: Path = Path(__file__).parents[2] / "static"
#: Steps of pictures made from within a widget: small, quick, enough to tell neurons apart.
STEPS = 64


class Interface(anywidget.AnyWidget):
    """A widget that draws ``content`` in the page; what is chosen there is a trait here.

    Everything slow is computed once, in Python; hovering only reads what was sent. A subclass
    names its built module in ``_esm``, fills ``content``, and says in `_still` and `_words` what
    stands for it on a page without a kernel.
    """

    _css = STATIC / "interfaces.css"

    neuron = traitlets.Unicode("", help="the chosen neuron, 'layer:unit'").tag(sync=True)
    content = traitlets.Dict(help="what the page draws").tag(sync=True)
    says = traitlets.Unicode("", help="what is being done, or went wrong").tag(sync=True)
    busy = traitlets.Bool(False, help="whether something is being computed").tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        # Callbacks may come in another thread while a cell is running.
        self._lock = threading.RLock()
        super().__init__(**traits)

    def _still(self) -> bytes:
        """A PNG of what is shown, on white."""
        raise TypeError(f"{type(self).__name__} has no still picture")

    def _words(self) -> str:
        """What is shown, in a line."""
        return type(self).__name__

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return bundle
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        png, words = base64.b64encode(self._still()).decode("ascii"), self._words()
        data["image/png"] = png
        data["text/plain"] = words
        data["text/html"] = (
            f'<img alt="{html.escape(words)}" src="data:image/png;base64,{png}" '
            'style="max-width:100%">'
        )
        return data, metadata


class NeuronInterface(Interface):
    """An interface of neurons shown as pictures; ``icons`` are these pictures in the page."""

    icons = traitlets.Dict(help="pictures and exemplars of the neurons").tag(sync=True)

    def __init__(self, icons: Icons, **traits: Any) -> None:
        self._icons = icons
        super().__init__(icons=icons.content(), **traits)
        self.on_msg(self._take_message)

    @property
    def neurons(self) -> list[str]:
        """Every neuron that can be shown, for ``nc.visualize`` and ``nc.exemplars``."""
        return self._icons.labels

    def show(self, pictures: xr.Dataset | None = None, exemplars: xr.Dataset | None = None) -> None:
        """Show pictures or exemplars that were made since.

        Parameters
        ----------
        pictures, exemplars : xarray.Dataset, optional
            Of ``nc.visualize`` and ``nc.exemplars``.

        Raises
        ------
        ValueError
            If they are something else.
        """
        with self._lock:
            self._icons.add(pictures, exemplars)
            self.icons = self._icons.content()

    def render(self, neurons: Any = None, *, steps: int = STEPS) -> xr.Dataset:
        """Make pictures with ``nc.visualize`` and show them.

        Parameters
        ----------
        neurons : as for ``nc.visualize``, optional
            Without, every neuron that can be shown and has no picture.
        steps : int

        Returns
        -------
        xarray.Dataset
            The pictures.

        Raises
        ------
        ValueError
            If there is nothing to render; and what ``nc.visualize`` raises.
        """
        icons = self._icons
        wanted = icons.missing(icons.neurons) if neurons is None else parse_neurons(neurons)
        if not wanted:
            raise ValueError("every neuron that can be shown has a picture; expected others to be")
        with self._lock:
            self.busy = True
            self.says = f"Making {len(wanted)} picture{'s' * (len(wanted) > 1)} …"
            try:
                made = icons.render(wanted, steps)
                self.icons = icons.content()
            finally:
                self.busy, self.says = False, ""
        return made

    def _take_message(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """What the page asks for; what goes wrong is said there."""
        wanted = [label for label in message.get("render", ()) if label in self._icons.labels]
        if not wanted or self.busy:
            return
        try:
            self.render(wanted)
        except Exception as error:
            self.says = f"{type(error).__name__}: {error}"
