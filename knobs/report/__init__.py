"""Reports with receipts: what the record says of an ablation or a study, and the runs behind every number."""
