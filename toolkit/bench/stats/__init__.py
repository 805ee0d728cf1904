"""Whether two measured sweeps differ: pure functions over repeats, without files and without the records' schema.

``compare.compare`` gives a ``Comparison`` of two ``Samples``, which ``render`` makes text or Markdown of. Who has trial
records makes the samples with one function::

    def samples_of(sweeps: Sequence[Scan]) -> Samples

One cell is the conditions of a point, one value a metric of one trial that is ok; ``Environment.identity`` and what
else a result depends on goes into ``Samples.identity``, the rest into ``Samples.context``.
"""
