<h1>Posts</h1>
<?php foreach ($posts as $post): ?>
<article>
  <h2><a href="<?= $escape($url("posts/{$post->name}")) ?>"><?= $escape($post->title) ?></a></h2>
  <p><?= $escape($post->paragraphs[0] ?? '') ?></p>
  <p class="soft"><time><?= $escape($post->date) ?></time> · <?= $counts[$post->name] ?? 0 ?> comments</p>
</article>
<?php endforeach ?>
