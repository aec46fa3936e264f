"""Reports with receipts: a recorded study or ablation in words, and the runs behind every number."""
