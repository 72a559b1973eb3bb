"""What proofs assume, in words; each proof names those it needs, and every key block carries them."""

from __future__ import annotations

ONE_DECOY = (
    "Protocol: BB84 with four states in two mutually unbiased bases and one decoy intensity; both outcomes of the test "
    "basis are measured; blocks are fixed intervals of sent slots."
)
TWO_DECOYS = (
    "Protocol: BB84 with four states in two mutually unbiased bases and two decoy intensities; both outcomes of the "
    "test basis are measured; blocks are fixed intervals of sent slots."
)
ENTANGLED = (
    "Protocol: BBM92; the test rounds are chosen at random and independently of everything else; the source of the "
    "pairs may belong to the attacker."
)
SOURCE = (
    "Source: pulse phases are uniformly random; mean photon numbers and probabilities of the intensity classes are "
    "exactly those configured, independent from slot to slot and of state and basis (no side channel, no correlation, "
    "no Trojan-horse leakage)."
)
SOURCE_WITHIN_INTERVALS = (
    "Source: pulse phases are uniformly random; in every slot the mean photon numbers of the intensity classes lie in "
    "the configured intervals and do not depend on state, basis, or choices in this or other slots; choices are "
    "independent (no side channel, no correlation, no Trojan-horse leakage)."
)
STATES = (
    "State preparation: the four states are ideal up to a rotation common to both bases (basis-independent source)."
)
RECEIVER = (
    "Receiver: the probability of a detection does not depend on the basis (equal efficiency, dark counts and losses "
    "of all detectors and arms); double and cross-basis clicks are assigned at random; a common dead time follows "
    "every click."
)
RECEIVER_WITHIN_INTERVALS = (
    "Receiver: the basis is chosen actively and the same detectors serve both bases; their efficiencies and dark "
    "counts lie in the given intervals in every round; losses before them do not depend on the basis; double clicks "
    "are assigned at random; a common dead time follows every click."
)
BOTH_RECEIVERS = (
    "Both receivers: mutually unbiased qubit measurements after squashing; double and cross-basis clicks are assigned "
    "at random; the probability of a detection does not depend on the basis; a common dead time follows every click."
)
DETECTORS = "Detectors and electronics behave as described: no blinding, no control by light, no leakage of outcomes."
RANDOMNESS = "Randomness of states, intensities, hash seeds and random assignments is uniform, independent and private."
AUTHENTICATION = (
    "Classical messages are authentic; the failure probability of authentication is accounted separately (eps_auth)."
)
FIXED_LENGTH = "Secret length, leakage budget and acceptance thresholds were fixed before the first slot of the block."
VARIABLE_LENGTH = (
    "The length is a function of announced counts alone, and so is the leakage that is passed; no block is tried "
    "again, shortened or extended after its counts are known."
)
LEGACY = (
    "For reproducing the paper only: its sampling bound fails more often than it says when few test errors are seen, "
    "and it inserts observed counts into a proof for lengths that are fixed beforehand."
)
