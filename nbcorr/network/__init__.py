"""What touches an nn.Module: layers, hooks, pooling, twins, switching units off."""
