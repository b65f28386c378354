# The paper's ablations, for tools/analysis_tools/run_ablation.py: where the paper shows each study,
# and the options that its settings add to BASE. Studies of decoding alone share one network.
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
        settings={c: {'model.head.seg_head.centroid': c} for c in ('static', 'dynamic')}),
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
