"""What people look at afterwards: MLflow's records, TensorBoard's logs, the model card.

`tracking` writes MLflow, `environment` says what ran, `board` writes TensorBoard, `live` feeds both
while a run goes on, `plots` and `card` tell of the model. All of it is written without being asked.
"""
