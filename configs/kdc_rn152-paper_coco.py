# Nothing but the outputs that the paper names: heatmaps, KeyCentroids, semantic map, MaskCentroid
# offsets and their bandwidth (eq. 6), trained by its losses (eqs. 1, 4, 5 and 7). Persons come
# from a priority queue over the kinematic graph (3.4), told apart by their MaskCentroids, and the
# corrections that the paper does not have are off, but for those that kdc_mm_runtime/refine.py
# calls permanent. The paper says nothing of strides and a neck: both are kdc_rn152_coco.py's.
_base_ = ['kdc_rn152_coco.py']

codec = dict(
    use_person_centroid=False,
    use_limbs=False,
    refine=dict(
        join_by_centroid=False, replace_margin=None, second_choice=None, unposed_area=None))
model = dict(
    head=dict(
        decoder=codec, seg_head=dict(loss_mask_centroid=dict(type='MaskCentroidLoss'))))
