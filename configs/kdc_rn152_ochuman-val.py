# tools/test.py on OCHuman's validation set.
_base_ = ['kdc_rn152_ochuman.py']

test_dataloader = _base_.val_dataloader
test_evaluator = _base_.val_evaluator
