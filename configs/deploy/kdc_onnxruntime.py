# For mmdeploy 1.3, with any config that has a KDCHead: its network as an ONNX file with all seven
# fields, which ONNX Runtime computes and the head decodes. A KDCPoseHead has the first four.
fields = ['heatmaps', 'key_centroids', 'person_centroids', 'limbs',
          'semantic', 'mask_centroids', 'log_bandwidth']

onnx_config = dict(
    type='onnx',
    export_params=True,
    keep_initializers_as_inputs=False,
    opset_version=17,
    save_file='end2end.onnx',
    input_names=['input'],
    output_names=fields,
    input_shape=None,  # that of the model's test pipeline
    dynamic_axes={name: {0: 'batch'} for name in ['input', *fields]},
    optimize=False)
codebase_config = dict(type='mmpose', task='PoseAndMasks', module=['kdc_mm.mmdeploy'])
backend_config = dict(type='onnxruntime')
