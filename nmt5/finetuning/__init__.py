"""Fine-tuning on a task and the papers' protocol: training and evaluation joined in one place."""
