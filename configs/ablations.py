# The paper's ablations, for tools/analysis_tools/run_ablation.py: where the paper shows each study,
# and the options that its settings add to BASE. Studies of decoding alone share one network.
# `outputs` leaves out what the paper does not have: its `paper` is kdc_rn152-paper_coco.py.
BASE = 'kdc_rn152_coco.py'

STUDIES = {
    'key-centroid': dict(
        shown_in='table 7',
        settings=dict(on={}, off={'model.head.decoder.use_key_centroid': False})),
    'radius': dict(
        shown_in='fig. 7',
        settings={r: {'model.head.decoder.radius': r} for r in (8, 16, 32)}),
    'mask-centroid': dict(
        shown_in='fig. 8',
        settings={c: {'model.head.seg_head.centroid': c}
                  for c in ('static', 'dynamic', 'keypoint')}),
    'outputs': dict(
        shown_in='-',
        settings={
            'all': {},
            'no-person-centroids': {'model.head.decoder.use_person_centroid': False},
            'no-limbs': {'model.head.decoder.use_limbs': False},
            'paper': {
                'model.head.decoder.use_person_centroid': False,
                'model.head.decoder.use_limbs': False,
                'model.head.decoder.refine.join_by_centroid': False,
                'model.head.decoder.refine.replace_margin': None,
                'model.head.decoder.refine.second_choice': None,
                'model.head.decoder.refine.unposed_area': None,
                'model.head.seg_head.loss_mask_centroid.type': 'MaskCentroidLoss'}}),
    'sigma-high-variance': dict(
        shown_in='fig. 9',
        decoding_only=True,
        settings={s: {'model.head.decoder.sigma_high_variance': s}
                  for s in (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)}),
    'sigma-low-variance': dict(
        shown_in='fig. 9',
        decoding_only=True,
        settings={s: {'model.head.decoder.sigma_low_variance': s}
                  for s in (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)}),
    'sigma-instance': dict(
        shown_in='fig. 10',
        decoding_only=True,
        settings={s: {'model.head.decoder.sigma_instance': s}
                  for s in (0.1, 0.2, 0.3, 0.4, 0.5)}),
}
