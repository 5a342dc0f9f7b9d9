"""Real data: sources (folder, zip, embedded digits, Python objects), decoded once, indexed by whole batches.

`open_data` is the way in, `open_for_training` where the data may be a stream; `facts_of` looks at a source without
decoding it all, `survey` at every image of it.
"""

from gansmith.data.cache import DataSet, open_data
from gansmith.data.inspection import check_bad, facts_of
from gansmith.data.order import Batch, Order, TrainingData
from gansmith.data.sources import Source, open_source
from gansmith.data.streaming import StreamedSet, open_for_training
from gansmith.data.surveying import Survey, survey
from gansmith.facts import DataFacts

__all__ = [
    "Batch", "DataFacts", "DataSet", "Order", "Source", "StreamedSet", "Survey", "TrainingData", "check_bad",
    "facts_of", "open_data", "open_for_training", "open_source", "survey",
]  # fmt: skip
