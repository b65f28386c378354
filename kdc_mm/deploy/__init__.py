from .export import ExportError, export_onnx
from .network import DeployedNetwork

__all__ = ['DeployedNetwork', 'ExportError', 'export_onnx']
