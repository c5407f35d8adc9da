<h1><?= $escape($title) ?></h1>
<p><a href="<?= $escape($url('')) ?>">To all posts</a></p>
