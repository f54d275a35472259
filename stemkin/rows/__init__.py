"""Tables of detections and tracks: with the experiment behind them, as whole tracks, in files."""
