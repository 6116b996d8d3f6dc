"""Diagnostics of reasoning about quality, for any image-text-to-text model.

Is the verdict steady (``stability``), does it follow from what was said (``grounding``, ``counterfactual``),
where is it decided (``lens``), what is looked at (``attention``)? ``diagnose`` asks all of it, one way to a
verdict beside another; ``files`` and ``page`` write what was found.
"""
