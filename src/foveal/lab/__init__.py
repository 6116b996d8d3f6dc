"""The lab: everything that needs torch, to make the models that the ground floor runs."""
