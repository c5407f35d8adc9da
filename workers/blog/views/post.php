<article>
  <h1><?= $escape($post->title) ?></h1>
  <p class="soft"><time><?= $escape($post->date) ?></time></p>
<?php foreach ($post->paragraphs as $paragraph): ?>
  <p><?= nl2br($escape($paragraph)) ?></p>
<?php endforeach ?>
</article>

<h2>Comments</h2>
<?php if ($told === 'yes'): ?>
<p class="note" role="status">Thank you. The author will get a mail: the job is in the queue.</p>
<?php elseif ($told === 'no'): ?>
<p class="note" role="status">Thank you, your comment is here. The queue did not answer, so the author gets no mail.</p>
<?php endif ?>
<?php foreach ($comments as $comment): ?>
<section class="comment" id="comment-<?= $escape($comment->id) ?>">
  <p><b><?= $escape($comment->author) ?></b> <time class="soft"><?= date('Y-m-d H:i', $comment->at) ?></time></p>
  <p><?= nl2br($escape($comment->text)) ?></p>
<?php if ($comment->picture !== ''): ?>
  <img src="<?= $escape($url("pictures/{$comment->picture}")) ?>" alt="Picture sent by <?= $escape($comment->author) ?>">
<?php endif ?>
</section>
<?php endforeach ?>
<?php if ($comments === []): ?>
<p class="soft">None yet.</p>
<?php endif ?>

<form method="post" action="<?= $escape($url("posts/{$post->name}/comments")) ?>" enctype="multipart/form-data">
  <input type="hidden" name="token" value="<?= $escape($token) ?>">
  <label for="author">Your name</label>
  <input id="author" name="author" maxlength="60" required autocomplete="name" value="<?= $escape($author) ?>">
<?php if (isset($mistakes['author'])): ?>
  <p class="mistake" role="alert"><?= $escape($mistakes['author']) ?></p>
<?php endif ?>
  <label for="text">What you think</label>
  <textarea id="text" name="text" rows="5" maxlength="2000" required><?= $escape($text) ?></textarea>
<?php if (isset($mistakes['text'])): ?>
  <p class="mistake" role="alert"><?= $escape($mistakes['text']) ?></p>
<?php endif ?>
  <label for="picture">A picture, if you like (at most 4 MB)</label>
  <input id="picture" name="picture" type="file" accept="image/jpeg,image/png,image/gif,image/webp">
  <button>Send</button>
</form>
