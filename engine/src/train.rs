//! Corpus, augmentation, recipes, the training loop, checkpoints.
