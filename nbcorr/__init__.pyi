from . import zoo as zoo
from .correlation.correlate import correlate as correlate
from .correlation.outcomes import outcomes as outcomes
from .correlation.outcomes import relative_performance as relative_performance
from .correlation.probe import probe as probe
from .correlation.table import top as top
from .description.describe import describe as describe
from .network.ablation import ablate as ablate
from .network.layers import layers as layers
from .notebook.explore import explore as explore
from .notebook.report import report as report
from .recording.arrays import from_arrays as from_arrays
from .recording.exemplars import exemplars as exemplars
from .recording.opening import open_recording as open_recording
from .recording.opening import save_recording as save_recording
from .recording.record import record as record
from .recording.watch import watch as watch
from .selectivity.index import selectivity as selectivity
from .visualization.attribute import attribute as attribute
from .visualization.factorize import factorize as factorize
from .visualization.visualize import visualize as visualize

__version__: str

def load_ipython_extension(ipython: object) -> None: ...
def unload_ipython_extension(ipython: object) -> None: ...
