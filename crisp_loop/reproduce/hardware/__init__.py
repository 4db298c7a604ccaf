"""Figure 8's study: the designs on ResNet-50 under one setting, and under others around it."""
