"""The command line ``crisp-loop``: a thin skin over the pipeline and its stages."""
