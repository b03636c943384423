"""The semi-supervised losses again, in plain float64 numpy, one equation a line.

Written from the papers, to be read with the PDF open, and never from `lowlabel_jax/objectives`:
`test_papers.py` compares the two. What is the same for all of them:

- The network is `scale * image`, images being [n, K]: an image is its own logits, for the student's
  `scale` `student` and the teacher's `teacher`, each one number or [K].
- `views`: `labelled`, `labelled_strong` [B, K]; `weak`, `weak_2`, `strong`, `strong_2` [M, K];
  `label`, `labelled_index` int [B]; `index` int [M], places in the unlabelled set of n images.
- A function returns `(loss, memory)`. The loss is the labelled part plus the weighted unlabelled
  one, and an unlabelled part is a mean over all M images, those masked out included.
- `memory` is what the method carries from step to step: a dict that its docstring lists, with
  first values from `NAME_memory`. It is not changed in place. Methods without any return it as
  given.
- `step` counts from 0: the first step of a run of `total_steps` has ramp(0).
- Random draws (mixup's shares and orders, rotations, VAT's direction) are arguments.
- `held` is the student's scale inside every stop-gradient (targets, masks, weights), `student` if
  not given. The gradient that a method means is thus the difference quotient in `student` at fixed
  `held`.
"""

import numpy as np

# ---------------------------------------------------------------------------------------------
# Pieces
# ---------------------------------------------------------------------------------------------


def network(images, scale):
    """Logits [n, K] of images [n, K]; `scale` is one number or [K]."""
    return np.asarray(scale, np.float64) * np.asarray(images, np.float64)


def log_softmax(logits):
    """log p [n, K], the largest logit subtracted first."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits):
    """p [n, K]."""
    return np.exp(log_softmax(logits))


def one_hot(labels, num_classes):
    """[n] int to [n, K]."""
    rows = np.zeros((len(labels), num_classes))
    for i, label in enumerate(labels):
        rows[i, label] = 1.0
    return rows


def cross_entropy(target, logits):
    """H(q, p) = -sum_c q_c log p_c, [n], of targets [n, K] or int labels [n]."""
    target = np.asarray(target)
    if target.ndim == 1:
        target = one_hot(target, np.shape(logits)[-1])
    return -(target * log_softmax(logits)).sum(axis=-1)


def entropy(p):
    """H(p, p), [n], with 0 log 0 = 0."""
    p = np.asarray(p, np.float64)
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(axis=-1)


def kl(target, logits):
    """KL(target || softmax(logits)) = H(target, p) - H(target), [n]."""
    return cross_entropy(target, logits) - entropy(target)


def squared(a, b):
    """mean_c (a_c - b_c)^2, [n]: a mean over classes, not the squared norm."""
    return ((a - b) ** 2).mean(axis=-1)


def normalise(rows):
    """Each row divided by its sum."""
    return rows / rows.sum(axis=-1, keepdims=True)


def unit(rows):
    """Each row divided by its Euclidean norm."""
    rows = np.asarray(rows, np.float64)
    return rows / np.sqrt((rows**2).sum(axis=-1, keepdims=True))


def sharpen(p, temperature):
    """p^(1/T) / sum p^(1/T): MixMatch, arXiv:1905.02249, equation 7."""
    return normalise(np.asarray(p, np.float64) ** (1.0 / temperature))


def align(p, target, model, smoothing=1e-6):
    """Distribution alignment, ReMixMatch, arXiv:1911.09785, section 3.1.

    p [n, K] times (target + smoothing) / (model + smoothing), both [K], renormalised. The paper has
    no smoothing; the official code has 1e-6 above and below.
    """
    return normalise(p * (np.asarray(target) + smoothing) / (np.asarray(model) + smoothing))


def interpolate(first, second, share):
    """AdaMatch's random logit interpolation, arXiv:2106.04732: z2 + share (z1 - z2).

    `first` (the labelled images alone) and `second` (among the unlabelled) [n, K]; `share` [n, K]
    in [0, 1], one draw per element.
    """
    return second + share * (first - second)


def mix(a, b, share):
    """mixup, arXiv:1710.09412: share a + (1 - share) b, `share` [n], one per image."""
    share = np.asarray(share, np.float64)[:, None]
    return share * a + (1.0 - share) * b


def cutmix_target(own, other, box, height, width):
    """CutMix, arXiv:1905.04899, equation 1: targets [n, K] mixed by area.

    `box` (top, bottom, left, right) is the pasted rectangle in pixels, ends excluded, perhaps over
    the border: the share that stays is 1 - (area inside the image) / (height width), as in the
    official code, and not the share that the box was drawn for.
    """
    top, bottom, left, right = box
    rows = min(bottom, height) - max(top, 0)
    columns = min(right, width) - max(left, 0)
    stays = 1.0 - max(rows, 0) * max(columns, 0) / (height * width)
    return stays * np.asarray(own, np.float64) + (1.0 - stays) * np.asarray(other, np.float64)


def progress(step, total_steps, share):
    """x = clip(step / (share total_steps), 0, 1); 1 where the share is 0."""
    return min(max(step / (share * total_steps), 0.0), 1.0) if share > 0 else 1.0


def linear_ramp(step, total_steps, share):
    """x: 0 at step 0, 1 from `share` of the run on."""
    return progress(step, total_steps, share)


def sigmoid_ramp(step, total_steps, share):
    """exp(-5 (1 - x)^2), arXiv:1610.02242: exp(-5), not 0, at step 0."""
    return np.exp(-5.0 * (1.0 - progress(step, total_steps, share)) ** 2)


def cosine_ramp(step, total_steps):
    """AdaMatch's mu(t) = 1/2 - cos(min(pi, 2 pi t / T)) / 2, arXiv:2106.04732: 1 from T/2 on."""
    return 0.5 - 0.5 * np.cos(min(np.pi, 2.0 * np.pi * step / total_steps))


def tsa(step, total_steps, num_classes, schedule):
    """UDA's threshold eta_t = alpha_t (1 - 1/K) + 1/K, arXiv:1904.12848, section on TSA.

    With t = step / total_steps, alpha is t ("linear"), e^(5(t-1)) ("exp") or 1 - e^(-5t) ("log").
    """
    t = step / total_steps
    alpha = {"linear": t, "exp": np.exp(5.0 * (t - 1.0)), "log": 1.0 - np.exp(-5.0 * t)}[schedule]
    return alpha * (1.0 - 1.0 / num_classes) + 1.0 / num_classes


def average(old, new, momentum):
    """momentum old + (1 - momentum) new."""
    return momentum * old + (1.0 - momentum) * new


def push(window, row):
    """A window [W, K] of the latest W rows: the oldest row out, the new one in at the end."""
    return np.concatenate([window[1:], np.asarray(row)[None]])


def uniform(num_classes):
    """1/K for every class, [K]."""
    return np.full(num_classes, 1.0 / num_classes)


def histogram(labels, num_classes):
    """Shares of the labels [K]; all zero where there are none."""
    counts = np.zeros(num_classes)
    for label in labels:
        counts[label] += 1.0
    return counts / max(counts.sum(), 1.0)


def labelled_part(views, student):
    """mean_b H(y_b, p(alpha(x_b))): cross-entropy of the weak labelled view."""
    return cross_entropy(views["label"], network(views["labelled"], student)).mean()


def predictions(images, scale):
    """(p [n, K], max p [n], argmax p [n])."""
    p = softmax(network(images, scale))
    return p, p.max(axis=-1), p.argmax(axis=-1)


def frozen(student, held):
    """The scale inside stop-gradients."""
    return student if held is None else held


# ---------------------------------------------------------------------------------------------
# Labels alone
# ---------------------------------------------------------------------------------------------


def supervised(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory=None,
    step=None,
    total_steps=None,
    view="labelled",
    smoothing=0.0,
    class_weights=None,
    share=None,
    order=None,
):
    """Cross-entropy, with label smoothing, class weights and mixup where asked for.

    Smoothing (arXiv:1512.00567, section 7): target (1 - eps) one-hot + eps/K. mixup
    (arXiv:1710.09412): images and targets mixed with those at `order` [B], `share` [B].
    `class_weights` [K]: sum_b w_b H_b / sum_b w_b. Choices: `view` is "labelled" (weak) or
    "labelled_strong"; w_b is the weight of the true class, under mixup the same mixture of the two
    images' weights; smoothing does not change w_b.
    """
    images, labels = views[view], views["label"]
    num_classes = images.shape[-1]
    hard = one_hot(labels, num_classes)
    if share is not None:
        images, hard = mix(images, images[order], share), mix(hard, hard[order], share)
    target = (1.0 - smoothing) * hard + smoothing / num_classes
    weights = hard @ (np.ones(num_classes) if class_weights is None else np.asarray(class_weights))
    losses = cross_entropy(target, network(images, student))
    return (weights * losses).sum() / weights.sum(), memory


# ---------------------------------------------------------------------------------------------
# Consistency of two predictions
# ---------------------------------------------------------------------------------------------


def pseudo_label(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory=None,
    step,
    total_steps,
    weight=1.0,
    ramp=0.4,
    threshold=0.95,
):
    """Pseudo-Label (Lee 2013, no arXiv id), equation 15, as in the FixMatch repository.

    L_s + weight r mean_b 1(max p >= threshold) H(argmax p, p), with target and prediction from the
    same single weak view. The threshold and the linear ramp over `ramp` of the run are the
    repository's; Lee has neither threshold nor weak view, and a ramp of his own.
    """
    _, confidence, guess = predictions(views["weak"], frozen(student, held))
    losses = cross_entropy(guess, network(views["weak"], student))
    unlabelled = ((confidence >= threshold) * losses).mean()
    r = linear_ramp(step, total_steps, ramp)
    return labelled_part(views, student) + weight * r * unlabelled, memory


def pi_model(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory=None,
    step,
    total_steps,
    weight=10.0,
    ramp=0.4,
):
    """Pi-model, arXiv:1610.02242, algorithm 1, as in the FixMatch repository.

    L_s + weight r mean_b mean_c (sg p(weak) - p(weak_2))^2. Choices: no gradient into `weak`
    (algorithm 1 has both branches live); unlabelled images only; linear ramp.
    """
    target = softmax(network(views["weak"], frozen(student, held)))
    unlabelled = squared(target, softmax(network(views["weak_2"], student))).mean()
    r = linear_ramp(step, total_steps, ramp)
    return labelled_part(views, student) + weight * r * unlabelled, memory


def temporal_ensembling_memory(num_classes, n):
    """`Z` [n, K] zeros, the running sums; `visits` int [n] zeros, how often each image was seen."""
    return {"Z": np.zeros((n, num_classes)), "visits": np.zeros(n, int)}


def temporal_ensembling(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory,
    step,
    total_steps,
    weight=30.0,
    ramp=80 / 300,
    momentum=0.6,
):
    """Temporal ensembling, arXiv:1610.02242, algorithm 2.

    Target z~_i = Z_i / (1 - momentum^t_i), from before this batch's update; loss
    L_s + weight r mean_b mean_c (p(weak) - z~)^2; then Z_i <- momentum Z_i + (1 - momentum) p_i.
    Choices: t_i counts the visits of image i, where the paper counts epochs, and the update comes
    with the batch, where the paper's comes once per epoch; an image never visited contributes zero
    and stays in the denominator M; an image that is several times in the batch is visited once,
    with its mean prediction; unlabelled images only; `weight` is w_max without the paper's factor
    labelled / all images.
    """
    live = softmax(network(views["weak"], student))
    losses = np.zeros(len(live))
    for b, i in enumerate(views["index"]):
        visits = memory["visits"][i]
        if visits > 0:
            target = memory["Z"][i] / (1.0 - momentum**visits)
            losses[b] = squared(live[b], target)

    seen = softmax(network(views["weak"], frozen(student, held)))
    sums, visits = memory["Z"].copy(), memory["visits"].copy()
    for i in set(np.asarray(views["index"]).tolist()):
        sums[i] = average(sums[i], seen[views["index"] == i].mean(axis=0), momentum)
        visits[i] += 1
    r = sigmoid_ramp(step, total_steps, ramp)
    loss = labelled_part(views, student) + weight * r * losses.mean()
    return loss, {"Z": sums, "visits": visits}


def mean_teacher(
    views,
    *,
    student=1.0,
    teacher=1.0,
    held=None,
    memory=None,
    step,
    total_steps,
    weight=50.0,
    ramp=0.4,
):
    """Mean Teacher, arXiv:1703.01780, section 2, as in the FixMatch repository.

    L_s + weight r mean_b mean_c (p_teacher(weak) - p(weak_2))^2. Choices: unlabelled images only
    and a linear ramp; the paper has all images and the sigmoid ramp over 40,000 steps.
    """
    target = softmax(network(views["weak"], teacher))
    unlabelled = squared(target, softmax(network(views["weak_2"], student))).mean()
    r = linear_ramp(step, total_steps, ramp)
    return labelled_part(views, student) + weight * r * unlabelled, memory


def adversarial(images, scale, direction, size):
    """VAT's r_adv [M, K], arXiv:1704.03976: one power iteration, in the limit xi -> 0.

    The Hessian of KL(p(x) || p(x + r)) in r at r = 0 is, for logits scale * x, by the chain rule
    H = diag(s) (diag(p) - p p') diag(s). Then g = H d and r_adv = size g / |g|, per image.
    """
    p = softmax(network(images, scale))
    scale = np.broadcast_to(np.asarray(scale, np.float64), p.shape[-1:])
    rows = []
    for p_i, d_i in zip(p, np.asarray(direction, np.float64), strict=True):
        hessian = np.diag(scale) @ (np.diag(p_i) - np.outer(p_i, p_i)) @ np.diag(scale)
        rows.append(hessian @ d_i)
    return size * unit(np.array(rows))


def vat(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory=None,
    step,
    total_steps,
    direction,
    size=6.0,
    weight=0.3,
    entropy_weight=0.06,
    ramp=0.4,
):
    """VAT with entropy minimisation, arXiv:1704.03976, equations 5 to 8.

    L_s + weight r mean KL(sg p(u) || p(u + r_adv)) + entropy_weight mean H(p(u)), u the weak view,
    `direction` [M, K] the random d. Choices: the ramp is on the KL term only; KL has the clean
    prediction first, as in equation 5 (the FixMatch repository has the perturbed one first); the
    clean prediction and r_adv carry no gradient, the entropy term does.
    """
    fixed = frozen(student, held)
    clean = softmax(network(views["weak"], fixed))
    pushed = views["weak"] + adversarial(views["weak"], fixed, direction, size)
    smooth = kl(clean, network(pushed, student)).mean()
    sure = entropy(softmax(network(views["weak"], student))).mean()
    r = linear_ramp(step, total_steps, ramp)
    return labelled_part(views, student) + weight * r * smooth + entropy_weight * sure, memory


# ---------------------------------------------------------------------------------------------
# Mixing images
# ---------------------------------------------------------------------------------------------


def ict(
    views,
    *,
    student=1.0,
    teacher=1.0,
    held=None,
    memory=None,
    step,
    total_steps,
    share,
    order,
    weight=100.0,
    ramp=0.25,
):
    """Interpolation consistency training, arXiv:1903.03825, algorithm 1.

    L_s + weight r mean_b mean_c (p(mix(u_i, u_j)) - mix(p_teacher(u_i), p_teacher(u_j)))^2 with
    j = order[i], weights share_i [M] on u_i, u the weak view, r the sigmoid ramp. Choices: the
    share is used as drawn, not max(share, 1 - share); the labelled part is not mixed.
    """
    images = views["weak"]
    guess = softmax(network(images, teacher))
    target = mix(guess, guess[order], share)
    mixed = softmax(network(mix(images, images[order], share), student))
    r = sigmoid_ramp(step, total_steps, ramp)
    return labelled_part(views, student) + weight * r * squared(mixed, target).mean(), memory


def mixed_with(images, targets, share, order):
    """MixMatch's mixup, arXiv:1905.02249, equations 8 to 11, over one long list.

    images, targets [N, K]; share [N], used as max(share, 1 - share), so that each entry stays
    closer to itself than to its partner order[i].
    """
    share = np.maximum(share, 1.0 - np.asarray(share))
    return mix(images, images[order], share), mix(targets, targets[order], share)


def mixmatch(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory=None,
    step,
    total_steps,
    share,
    order,
    temperature=0.5,
    weight=75.0,
    ramp=1 / 64,
):
    """MixMatch with two guesses, arXiv:1905.02249, equations 2 to 11 and algorithm 1.

    q = sharpen((p(weak) + p(weak_2)) / 2); mixup over the list [labelled, weak, weak_2] of B + 2M
    entries, with `share` and the permutation `order` of that length; L = mean_B H(x', p) + weight r
    mean_2M mean_c (q' - p)^2. Choices: the ramp is linear; no gradient into q.
    """
    fixed, num_labelled = frozen(student, held), len(views["label"])
    guess = (
        softmax(network(views["weak"], fixed)) + softmax(network(views["weak_2"], fixed))
    ) / 2.0
    q = sharpen(guess, temperature)
    hard = one_hot(views["label"], q.shape[-1])
    images = np.concatenate([views["labelled"], views["weak"], views["weak_2"]])
    images, targets = mixed_with(images, np.concatenate([hard, q, q]), share, order)
    logits = network(images, student)
    labelled = cross_entropy(targets[:num_labelled], logits[:num_labelled]).mean()
    unlabelled = squared(targets[num_labelled:], softmax(logits[num_labelled:])).mean()
    return labelled + weight * linear_ramp(step, total_steps, ramp) * unlabelled, memory


def remixmatch_memory(num_classes, n=None, window=128):
    """`data` and `model` [W, K], all 1/K: per batch the mean one-hot label and the mean p(weak)."""
    rows = np.tile(uniform(num_classes), (window, 1))
    return {"data": rows, "model": rows.copy()}


def remixmatch(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory,
    step,
    total_steps,
    share,
    order,
    rotation_logits=None,
    rotation_class=None,
    temperature=0.5,
    weight=1.5,
    strong_weight=0.5,
    rotation_weight=0.5,
    ramp=1 / 64,
    smoothing=1e-6,
    update_first=False,
):
    """ReMixMatch with two strong views, arXiv:1911.09785, algorithm 1.

    q = sharpen(align(p(weak))), the target of every view of that image; mixup over the list
    [labelled_strong, strong, strong_2, weak] of B + 3M entries, `share` and `order` of that length;
    L = mean_B H(x', p) + weight r mean_3M H(u', p) + strong_weight r mean_M H(q, p(strong))
    + rotation_weight mean H(rotation class, rotation logits). Rotation logits [M, 4] and classes
    int [M] are given; left out, their term is. Choices: the mean one-hot labels of the last W
    batches are the data's distribution; alignment uses the windows from before this batch, as the
    official code does (`update_first` turns that round); no ramp on the rotation term.
    """
    fixed, num_labelled = frozen(student, held), len(views["label"])
    guess = softmax(network(views["weak"], fixed))
    hard = one_hot(views["label"], guess.shape[-1])
    new = {
        "data": push(memory["data"], hard.mean(axis=0)),
        "model": push(memory["model"], guess.mean(axis=0)),
    }
    used = new if update_first else memory
    marginals = used["data"].mean(axis=0), used["model"].mean(axis=0)
    q = sharpen(align(guess, *marginals, smoothing), temperature)

    names = ("labelled_strong", "strong", "strong_2", "weak")
    images = np.concatenate([views[name] for name in names])
    images, targets = mixed_with(images, np.concatenate([hard, q, q, q]), share, order)
    losses = cross_entropy(targets, network(images, student))
    labelled, unlabelled = losses[:num_labelled].mean(), losses[num_labelled:].mean()
    before_mixing = cross_entropy(q, network(views["strong"], student)).mean()
    r = linear_ramp(step, total_steps, ramp)
    loss = labelled + weight * r * unlabelled + strong_weight * r * before_mixing
    if rotation_logits is not None:
        loss += rotation_weight * cross_entropy(rotation_class, rotation_logits).mean()
    return loss, new


# ---------------------------------------------------------------------------------------------
# A weak view teaches a strong one
# ---------------------------------------------------------------------------------------------


def uda(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory=None,
    step,
    total_steps,
    temperature=0.4,
    threshold=0.8,
    weight=1.0,
    schedule=None,
):
    """UDA, arXiv:1904.12848, its objective with masking, sharpening and TSA.

    Labelled: images whose correct-class probability is above eta_t are dropped, and the sum is
    divided by the number kept, at least 1; `schedule` None, "linear", "exp" or "log".
    Unlabelled: mean 1(max p(weak) > threshold) KL(softmax(z(weak) / temperature) || p(strong)).
    Choices: the mask is strict and reads the unsharpened p; KL, not cross-entropy (same gradient).
    """
    fixed = frozen(student, held)
    losses = cross_entropy(views["label"], network(views["labelled"], student))
    labelled = losses.mean()
    if schedule is not None:
        p = softmax(network(views["labelled"], fixed))
        eta = tsa(step, total_steps, p.shape[-1], schedule)
        kept = np.array([p[b, y] <= eta for b, y in enumerate(views["label"])], float)
        labelled = (kept * losses).sum() / max(kept.sum(), 1.0)
    logits = network(views["weak"], fixed)
    mask = softmax(logits).max(axis=-1) > threshold
    divergence = kl(softmax(logits / temperature), network(views["strong"], student))
    return labelled + weight * (mask * divergence).mean(), memory


def fixmatch_part(weak, strong, *, student, held, threshold):
    """FixMatch's unlabelled loss, arXiv:2001.07685, equation 4.

    mean 1(max p(weak) >= threshold) H(argmax p(weak), p(strong)).
    """
    _, confidence, guess = predictions(weak, frozen(student, held))
    return ((confidence >= threshold) * cross_entropy(guess, network(strong, student))).mean()


def fixmatch(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory=None,
    step=None,
    total_steps=None,
    threshold=0.95,
    weight=1.0,
):
    """FixMatch, arXiv:2001.07685, equations 3 and 4: L_s + weight L_u. Labelled view weak only."""
    unlabelled = fixmatch_part(
        views["weak"], views["strong"], student=student, held=held, threshold=threshold
    )
    return labelled_part(views, student) + weight * unlabelled, memory


def defixmatch(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory=None,
    step=None,
    total_steps=None,
    threshold=0.95,
    weight=1.0,
):
    """DeFixMatch, arXiv:2203.07512: FixMatch's unlabelled loss less the same on labelled images.

    L_s + weight (L_u(weak, strong) - L_u(labelled, labelled_strong)). The labelled images are taken
    as if they had no labels: their targets are the student's guesses.
    """
    common = dict(student=student, held=held, threshold=threshold)
    unlabelled = fixmatch_part(views["weak"], views["strong"], **common)
    bias = fixmatch_part(views["labelled"], views["labelled_strong"], **common)
    return labelled_part(views, student) + weight * (unlabelled - bias), memory


def flexmatch_memory(num_classes, n):
    """`guess` int [n], all -1: the last confident pseudo-label of each unlabelled image."""
    return {"guess": np.full(n, -1)}


def learning_status(guess, num_classes, warm_up=True):
    """beta [K], arXiv:2110.08263, curriculum pseudo-labelling, of the stored pseudo-labels `guess`
    [n].

    sigma(c) counts c among them; beta = sigma / max(max sigma, n - sum sigma) with warm-up, else
    sigma / max sigma; 0 where nothing is stored.
    """
    sigma = np.array([(guess == c).sum() for c in range(num_classes)], float)
    most = sigma.max()
    if warm_up:
        most = max(most, len(guess) - sigma.sum())
    return sigma / most if most > 0 else sigma


def flexmatch(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory,
    step=None,
    total_steps=None,
    threshold=0.95,
    weight=1.0,
    warm_up=True,
    update_first=False,
):
    """FlexMatch, arXiv:2110.08263, algorithm 1.

    mean 1(max p >= threshold M(beta(argmax p))) H(argmax p, p(strong)), M(x) = x / (2 - x). The
    store takes argmax p where max p >= threshold, the fixed one. Choices: beta comes from the store
    of before this batch, as in the official code (`update_first` turns that round); of an image
    that is several times in the batch the last confident entry stays.
    """
    p, confidence, guess = predictions(views["weak"], frozen(student, held))
    store = memory["guess"].copy()
    for b, i in enumerate(views["index"]):
        if confidence[b] >= threshold:
            store[i] = guess[b]
    beta = learning_status(store if update_first else memory["guess"], p.shape[-1], warm_up)
    mask = confidence >= threshold * (beta / (2.0 - beta))[guess]
    unlabelled = (mask * cross_entropy(guess, network(views["strong"], student))).mean()
    return labelled_part(views, student) + weight * unlabelled, {"guess": store}


def freematch_memory(num_classes, n=None):
    """`threshold` 1/K, the tau_t; `p` and `h` [K], all 1/K: mean prediction and label histogram."""
    return {
        "threshold": 1.0 / num_classes,
        "p": uniform(num_classes),
        "h": uniform(num_classes),
    }


def fairness(p, h, strong, counted):
    """FreeMatch's self-adaptive fairness, arXiv:2205.07246, with its published sign.

    + sum_c a_c log(b_c + 1e-12), a = SumNorm(p / h), b = SumNorm(mean strong / counted): *minus*
    the cross-entropy of the two. p, h [K] the memory's; strong [m, K] the kept images' strong
    predictions; counted [K] the histogram of their argmax, without gradient. A class that is absent
    from a histogram gets 0, not infinity. No image kept: 0.
    """
    if len(strong) == 0:
        return 0.0

    def ratio(above, below):
        return normalise(
            np.array([a / b if b > 0 else 0.0 for a, b in zip(above, below, strict=True)])
        )

    return (ratio(p, h) * np.log(ratio(strong.mean(axis=0), counted) + 1e-12)).sum()


def freematch(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory,
    step=None,
    total_steps=None,
    momentum=0.999,
    weight=1.0,
    fairness_weight=0.001,
    lowest=0.0,
    highest=1.0,
):
    """FreeMatch, arXiv:2205.07246: self-adaptive thresholds and fairness.

    tau = EMA(mean max p), p~ = EMA(mean p), h~ = EMA(histogram of argmax p), on the weak views and
    updated before they are used; mask max p >= tau p~(c) / max p~ at c = argmax p; L_s
    + weight mean mask H(argmax p, p(strong)) + fairness_weight fairness, whose published sign it
    has. Choices: tau is clipped to [lowest, highest] (0.9 and 0.95 for SVHN) where it is used, not
    in the memory; the fairness term reads the kept images only.
    """
    fixed = frozen(student, held)
    p, confidence, guess = predictions(views["weak"], fixed)
    num_classes = p.shape[-1]
    new = {
        "threshold": average(memory["threshold"], confidence.mean(), momentum),
        "p": average(memory["p"], p.mean(axis=0), momentum),
        "h": average(memory["h"], histogram(guess, num_classes), momentum),
    }
    tau = min(max(new["threshold"], lowest), highest)
    mask = confidence >= tau * (new["p"] / new["p"].max())[guess]
    unlabelled = (mask * cross_entropy(guess, network(views["strong"], student))).mean()
    kept = views["strong"][mask]
    counted = histogram(network(kept, fixed).argmax(axis=-1), num_classes)
    fair = fairness(new["p"], new["h"], softmax(network(kept, student)), counted)
    return labelled_part(views, student) + weight * unlabelled + fairness_weight * fair, new


def softmatch_memory(num_classes, n=None):
    """`mean` 1/K and `variance` 1 of max p; `model` [K], all 1/K: the mean prediction."""
    return {"mean": 1.0 / num_classes, "variance": 1.0, "model": uniform(num_classes)}


def truncated_gaussian(confidence, mean, variance, width):
    """SoftMatch's weight [n], arXiv:2301.10921: 1 from `mean` on, a Gaussian below.

    exp(-min(confidence - mean, 0)^2 / (2 variance / width^2)); `width` is the code's n_sigma.
    """
    below = np.minimum(confidence - mean, 0.0)
    return np.exp(-(below**2) / (2.0 * variance / width**2))


def softmatch(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory,
    step=None,
    total_steps=None,
    momentum=0.999,
    width=2.0,
    weight=1.0,
    alignment=True,
    statistics="raw",
):
    """SoftMatch, arXiv:2301.10921: truncated Gaussian weights, uniform alignment.

    L_s + weight mean lambda(UA(p)) H(argmax p, p(strong)); mu and sigma^2 are EMAs of the batch's
    mean and unbiased variance of max p, updated before they are used; UA(p) = normalise(p (1/K) /
    E[p]), E[p] an EMA too. Choices: uniform alignment for the weight only, the label is the argmax
    of the raw p; mu and sigma^2 of the raw p (`statistics` "aligned": of UA(p)); E[p] starts at
    1/K, is updated before it is used, and has no 1e-6 about it.
    """
    p, _, guess = predictions(views["weak"], frozen(student, held))
    model = average(memory["model"], p.mean(axis=0), momentum)
    aligned = align(p, uniform(p.shape[-1]), model, smoothing=0.0) if alignment else p
    measured = (p if statistics == "raw" else aligned).max(axis=-1)
    new = {
        "mean": average(memory["mean"], measured.mean(), momentum),
        "variance": average(memory["variance"], measured.var(ddof=1), momentum),
        "model": model,
    }
    share = truncated_gaussian(aligned.max(axis=-1), new["mean"], new["variance"], width)
    unlabelled = (share * cross_entropy(guess, network(views["strong"], student))).mean()
    return labelled_part(views, student) + weight * unlabelled, new


def adamatch_memory(num_classes, n=None, window=128):
    """`labelled` [K] and `unlabelled` [W, K], all 1/K: mean predictions on the weak views."""
    return {
        "labelled": uniform(num_classes),
        "unlabelled": np.tile(uniform(num_classes), (window, 1)),
    }


def adamatch(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory,
    step,
    total_steps,
    first_pass=None,
    share=(0.0, 0.0),
    threshold=0.9,
    weight=1.0,
    momentum=0.999,
    smoothing=1e-6,
    alignment=True,
    relative=True,
):
    """AdaMatch, arXiv:2106.04732, section 3, as in its official repository.

    Labelled logits z2 + share (z1 - z2): z2 the student's, z1 = `first_pass`, a pair (weak, strong)
    of [B, K] from a pass over the labelled images alone (z2 where not given: without BatchNorm they
    are equal), `share` a pair of [B, K]. L_s = (H weak + H strong) / 2.
    q = normalise(p(weak) (labelled + 1e-6) / (unlabelled + 1e-6)), `labelled` an EMA of the mean
    interpolated weak labelled prediction, `unlabelled` a window's mean of mean p(weak), both
    updated before they are used. c = threshold mean_b max p(labelled weak), interpolated too.
    L = L_s + weight mu(t) mean 1(max q >= c) H(argmax q, p(strong)).
    `alignment` False leaves q = p, `relative` False c = threshold: FixMatch with two labelled
    views.
    """
    fixed = frozen(student, held)
    names = ("labelled", "labelled_strong")
    live = [network(views[name], student) for name in names]
    still = network(views["labelled"], fixed)
    if first_pass is not None:
        live = [interpolate(*parts) for parts in zip(first_pass, live, share, strict=True)]
        still = interpolate(first_pass[0], still, share[0])
    labelled = sum(cross_entropy(views["label"], logits).mean() for logits in live) / 2.0

    source, p = softmax(still), softmax(network(views["weak"], fixed))
    new = {
        "labelled": average(memory["labelled"], source.mean(axis=0), momentum),
        "unlabelled": push(memory["unlabelled"], p.mean(axis=0)),
    }
    q = align(p, new["labelled"], new["unlabelled"].mean(axis=0), smoothing) if alignment else p
    c = threshold * (source.max(axis=-1).mean() if relative else 1.0)
    losses = cross_entropy(q.argmax(axis=-1), network(views["strong"], student))
    unlabelled = ((q.max(axis=-1) >= c) * losses).mean()
    return labelled + weight * cosine_ramp(step, total_steps) * unlabelled, new


def simmatch_memory(num_classes, embeddings, labels, window=256, start=0.0):
    """`bank` [N, D] and `label` int [N] of the N labelled images; `model` [W, K], all `start`.

    The official code starts its window at 0: since alignment renormalises, the mean over a
    half-filled window stands for the mean over the batches seen. `start` 1/K lets the empty places
    count.
    """
    return {
        "bank": unit(embeddings),
        "label": np.asarray(labels),
        "model": np.full((window, num_classes), float(start)),
    }


def unfold(q, p, labels):
    """SimMatch's instance target [N] of one image, arXiv:2203.06915, "unfolding".

    q [N] similarities to the bank's instances, p [K] class probabilities: q_i p(class of i),
    normalised.
    """
    return normalise(np.array([q_i * p[y] for q_i, y in zip(q, labels, strict=True)]))


def aggregate(q, p, labels, share):
    """SimMatch's class target [K] of one image, arXiv:2203.06915, "aggregation".

    share p + (1 - share) (sum of the similarities of each class's instances): the q before
    unfolding.
    """
    by_class = np.zeros(len(p))
    for q_i, y in zip(q, labels, strict=True):
        by_class[y] += q_i
    return share * p + (1.0 - share) * by_class


def simmatch(
    views,
    *,
    student=1.0,
    teacher=1.0,
    held=None,
    memory,
    step=None,
    total_steps=None,
    embedding,
    teacher_embedding,
    labelled_embedding=None,
    temperature=0.1,
    aggregation=0.9,
    threshold=0.95,
    weight=1.0,
    instance_weight=1.0,
    bank_momentum=0.0,
):
    """SimMatch, arXiv:2203.06915, section 3.

    Embeddings: `embedding` [M, D] the student's of `strong`, `teacher_embedding` [M, D] the
    teacher's of `weak`; both are brought to unit length here. p = p_teacher(weak) over the window's
    mean, renormalised: alignment to uniform, the window updated first, no 1e-6. q and q_s =
    softmax(cosines to the bank / temperature) of teacher and student. L = L_s + weight mean 1(max
    p^ >= threshold) H(p^, p(strong)) + instance_weight mean H(q^, q_s), with p^ aggregated (soft)
    and q^ unfolded. Choices: the mask reads p^; the instance term has no mask; both terms from the
    first step on. Then the bank takes `labelled_embedding` [B, D], the teacher's, at
    `labelled_index`, where given: unit(bank_momentum old + (1 - bank_momentum) new), of duplicates
    the last. (The paper's CIFAR runs have no teacher network and momentum 0.7, those on ImageNet
    0.)
    """
    bank, labels = memory["bank"], memory["label"]
    p = softmax(network(views["weak"], teacher))
    window = push(memory["model"], p.mean(axis=0))
    p = normalise(p / window.mean(axis=0))
    q = softmax(unit(teacher_embedding) @ bank.T / temperature)
    log_q_s = log_softmax(unit(embedding) @ bank.T / temperature)
    log_p_s = log_softmax(network(views["strong"], student))

    semantic, instance = np.zeros(len(p)), np.zeros(len(p))
    for b in range(len(p)):
        soft = aggregate(q[b], p[b], labels, aggregation)
        if soft.max() >= threshold:
            semantic[b] = -(soft * log_p_s[b]).sum()
        instance[b] = -(unfold(q[b], p[b], labels) * log_q_s[b]).sum()
    unlabelled = weight * semantic.mean() + instance_weight * instance.mean()

    new = bank.copy()
    if labelled_embedding is not None:
        for i, row in zip(views["labelled_index"], unit(labelled_embedding), strict=True):
            new[i] = unit(average(bank[i], row, bank_momentum))
    loss = labelled_part(views, student) + unlabelled
    return loss, {"bank": new, "label": labels, "model": window}


# ---------------------------------------------------------------------------------------------
# A finished run teaches the next
# ---------------------------------------------------------------------------------------------


def noisy_student(
    views,
    *,
    student=1.0,
    teacher=None,
    held=None,
    memory=None,
    step=None,
    total_steps=None,
    stored,
    threshold=0.9,
    weight=1.0,
):
    """Noisy Student, arXiv:1911.04252, algorithm 1, as in the AdaMatch repository.

    `stored` [n, K]: the teacher's probabilities for the unlabelled set, read at `index`. Labelled
    and unlabelled alike: half the cross-entropy of the weak view plus half that of the strong one,
    against the label or the *soft* stored prediction. Choices: an unlabelled image counts where its
    largest stored probability is > threshold (strict), and the mean is over all M images (the
    repository puts the kept ones in with the labelled and takes one mean).
    """
    target = np.asarray(stored, np.float64)[views["index"]]
    mask = target.max(axis=-1) > threshold

    def both(truth, weak, strong):
        first = cross_entropy(truth, network(views[weak], student))
        return (first + cross_entropy(truth, network(views[strong], student))) / 2.0

    labelled = both(views["label"], "labelled", "labelled_strong").mean()
    unlabelled = (mask * both(target, "weak", "strong")).mean()
    return labelled + weight * unlabelled, memory
