"""Training: views, teachers, losses, optimizers and runs."""
