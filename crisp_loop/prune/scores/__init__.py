"""What every weight or channel is worth to the user's classes.

:func:`crisp_loop.prune.scores.saliency.score_weights` scores weights by a criterion;
:mod:`crisp_loop.prune.scores.channel` scores output channels by feature maps.
"""
