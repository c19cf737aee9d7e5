"""Weights on their way from the learner to engines: both ends, and the client that asks every engine.

One push, from above; each line calls the next. A new group of engines is connected the same way: `connect`,
`open_channel`, `trainer_init`, `init_weight_transfer_engine`, `join_transfer`.

    coordinator      WeightPublisher.publish         pauses, verifies and resumes the engines through `EnginePort`
                     LearnerGroup.push               a remote call to every learner rank
    learner ranks    LearnerRank.push
                     WeightSender.push               decides what is sent and what is verified by checksum
                     TransferChannel.send
                     send_weights                    vLLM's trainer side: `gloo_sender`, `nccl`, or vLLM's CUDA IPC
    learner rank 0   FanOutClient.update_weights     between `start_weight_update` and `finish_weight_update`
                     WeightReceiver.receive_weights  a remote call to every worker (`RayReceiver`)
    rollout machine  RolloutWorker.receive_weights   between `start_update` and `finish_update`
                     EngineUpdate.receive_weights
                     AsyncLLM.update_weights         its processes receive: `gloo_receiver`, `nccl`, or vLLM's CUDA IPC

Weights travel straight from the trainer side to the engines' processes. The calls carry only names and shapes, and with
CUDA IPC the handles of the memory that sender and engines share.
"""
