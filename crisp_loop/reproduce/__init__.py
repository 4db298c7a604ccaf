"""The figures of the CRISP paper, measured again: :func:`crisp_loop.reproduce.run.reproduce`."""
